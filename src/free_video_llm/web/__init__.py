"""The web page behind `fvl web`: a thin face over the pipeline, the pictures and the evidence.

Needs the extra `web` (Gradio); nothing else in the package imports it.
"""
