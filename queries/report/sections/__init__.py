"""The sections of the report. A section is a file here, which says what it asks and draws, and its template."""
