"""Plain data and pure rules: messages, states, outcomes, options, retry arithmetic, the wire format."""
