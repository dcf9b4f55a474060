"""Know what made an artifact: code, parameters, inputs and libraries; and which artifacts may be deleted."""
