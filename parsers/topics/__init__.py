"""Messages of topics turned into columns: what MCAP, ROS bags and Apollo records share."""
