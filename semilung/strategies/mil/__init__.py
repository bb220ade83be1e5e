"""Multiple-instance learning (ABMIL) over the crops of a scan."""
