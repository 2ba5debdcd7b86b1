"""What is on the screen. The only Streamlit in the project."""
