"""DICOMweb (PS3.18) without input and output."""
