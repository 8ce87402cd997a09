"""A shop that sells gold: a Django project with one app, which is itself.

Against a local Kraty, `kraty-admin emulator --port 4010`, in this folder:

    export KRATY_BASE_URL=http://127.0.0.1:4010
    export KRATY_SERVER_KEY=krt_emulator_game1.not-a-secret
    export KRATY_WEBHOOK_SECRET=whsec_local
    python manage.py migrate
    python manage.py kraty_outbox set-up
    python manage.py createsuperuser
    python manage.py kraty_outbox &
    python manage.py runserver

    curl http://127.0.0.1:8000/buy --json '{"receipt_id": "r1", "player": "player_42"}'
"""
