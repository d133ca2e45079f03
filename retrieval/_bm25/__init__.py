"""What BM25 is made of: Lucene in a Java machine of this process with its indexes, and bm25s with Lucene's terms."""
