"""How a contract is kept, pure: no network, no AWS. Two engines over one ground (contract to SQL, reasons, schemas).

`scan` sets aside what certainly holds, in C; `files` checks inputs of any size, `batches` the small ones of a function.
"""
