"""Pages, tables and figures of a run, and the page of a site's receipts."""
