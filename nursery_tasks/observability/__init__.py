"""Listeners for `App.subscribe`. They write down what happened and change nothing."""
