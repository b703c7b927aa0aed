"""The portal's pages, one module for each."""
