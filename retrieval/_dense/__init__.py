"""What dense retrieval is made of: encoders, the exact search, FAISS's indexes, and the folders that keep them."""
