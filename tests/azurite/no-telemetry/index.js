// In the place of the real package, which azurite loads and, with --disableTelemetry, never uses: 200 MB that no test needs.
