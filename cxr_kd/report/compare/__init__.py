"""Several studies side by side, `cxr-kd compare`: `page` writes the page (start there)."""
