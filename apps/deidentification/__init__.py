"""De-identification for a clinic: its choices, anonymised copies, what a person must look at, and the proof."""
