"""ROS 1 bags, version 2.0."""
