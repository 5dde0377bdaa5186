"""What each operator computes, as tensor expressions on channels-last data. No schedule is implied."""
