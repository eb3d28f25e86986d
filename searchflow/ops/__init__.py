"""What the platform knows about itself, in tables that SQL can reach: runs of every stage, rejections, the audit log."""
