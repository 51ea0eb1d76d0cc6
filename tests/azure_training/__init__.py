"""``%%mb_train`` in Azure with what goes wrong there: recovered, or one clear card; never two jobs.

The cell runs in a real shell; the job runs in the stand-in for Azure, with a stand-in for the training program.
"""
