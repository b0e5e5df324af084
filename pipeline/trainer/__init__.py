"""Generic training: the loop, gradients, states to go on from, several processes, schedules. It knows no task."""
