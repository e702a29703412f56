"""Results to what an analyst needs: figures, pages, exports. Never imports torch."""
