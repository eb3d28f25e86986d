"""Operations: what the platform knows about itself, in tables that SQL can reach. They hold runs of every stage,
rejections and the audit log.
"""
