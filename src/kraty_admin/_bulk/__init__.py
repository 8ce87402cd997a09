"""The importer: it reads rows, plans chunks, keeps the journal, and sends with a client's calls."""
