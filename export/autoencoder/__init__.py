"""The network of --method autoencoder: trained on good pictures to repair what was spoilt in them."""
