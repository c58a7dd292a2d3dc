"""The kernel extension: clients through the proxy, and what each cell cost.

    %load_ext ultimate_lib
    %ultimate                # what is on; %ultimate help for the words

| part | does |
|---|---|
| extension | the one object that switches everything on and off |
| proxy | finds the proxy, checks it, asks it for rows |
| environment, clients | lead libraries and existing clients to the proxy, and back |
| traffic | sees requests on their way: tags them, counts them, goes direct while the proxy is away |
| cells, spread, notebook | which cell runs, in threads too, of which notebook |
| line, costs | what calls cost, as a line and as a frame with a chart |
| front | shows it: JupyterLab by comm, elsewhere as plain output |
| magic | the words of `%ultimate` |

Nothing here may fail a user's cell: whatever Jupyter, a client or a thread calls is guarded (`guard`).
"""
