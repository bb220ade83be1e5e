"""Multiple-instance learning (ABMIL): the crops of a scan are a bag."""
