"""Pieces the pages share: session, engine, viewer, downloads."""
