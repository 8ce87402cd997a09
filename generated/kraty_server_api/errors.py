class ErrorCodeProperties:
    code: str
