"""All SQL of the dashboards: over marts and ops (and counts of dead letters), values bound, one module for each page."""
