"""The report's and the notebooks' pictures and tables of maps: `views` has the answer and the tables (start there)."""
