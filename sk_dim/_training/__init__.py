"""From the parameters of an estimator to a trained model."""
