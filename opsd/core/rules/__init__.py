"""When each reason holds: one function a rule, grouped by subject; `opsd.core.findings` runs them all.

A rule answers with a `Finding`, or with the plain reason why it does not hold, so that what `explain` shows is what the
rule itself said. Rules look at one `Look`; none of them knows another.
"""
