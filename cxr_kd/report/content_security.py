"""What a browser may do on the pages of this project: use inline styles and inline images, and nothing else."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
