"""Engines that answer prompts, and what drives and wraps them."""
