# Tests kill processes, which their supervisors report.
:logger.set_primary_config(:level, :critical)
ExUnit.start()
