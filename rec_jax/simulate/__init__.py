"""Users that answer to slates: simulators as pure functions over a batch of users."""
