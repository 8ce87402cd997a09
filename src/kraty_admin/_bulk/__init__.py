"""The importer: reads rows, plans chunks, keeps the journal, and sends through a client's calls."""
