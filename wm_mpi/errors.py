"""The one exception that a person is meant to read."""

import errno


class UserError(Exception):
    """Something outside the program is wrong: one sentence naming the file, the value and the fix.

    Commands print the sentence and exit with status 2; a traceback would only hide it.
    """


def is_disk_full(error: BaseException) -> bool:
    """Whether an I/O error means that the disk is full or a quota is reached.

    HDF5 reports both through its own message, so the error number alone does not tell.
    """
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    text = str(error)
    return any(f"errno = {code}," in text for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
