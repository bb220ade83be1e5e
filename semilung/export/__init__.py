"""Trained nets and cohorts in the forms of other programs."""
