"""Files that estimators are kept in."""
