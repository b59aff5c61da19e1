"""The transactions of DICOMweb, named as PS3.18 names them; each view works for one principal under any root."""
