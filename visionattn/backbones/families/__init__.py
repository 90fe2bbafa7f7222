"""What one paper alone has: stems, blocks and stages of single families."""
