"""Schedules for devices that run kernels over a grid of work items: one kernel a workload wherever that is possible."""
