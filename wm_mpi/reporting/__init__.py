"""What a run says of itself: one page, one picture, a model card."""
