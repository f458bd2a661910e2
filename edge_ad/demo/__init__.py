"""The page of `edge-ad demo`: what it shows (`looking`, `words`, `samples`), and Gradio, which only `app` imports."""
