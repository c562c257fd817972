"""Studies: from a question as YAML to runs, a table, figures and a page."""
