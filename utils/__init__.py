"""What the field is made of: scans, grids, labels, measurements. No Keras, no Streamlit."""
