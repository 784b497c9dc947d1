"""The site: settings, addresses, admin site, API error shape, health."""
