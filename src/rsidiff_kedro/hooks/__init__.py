"""Code that Kedro calls: the configuration loader, the session, the runner, and the hooks."""
