"""The tables of the shop."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="BalanceChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("player", models.CharField(max_length=100)),
                ("gold", models.IntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Purchase",
            fields=[
                ("receipt_id", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("player", models.CharField(max_length=100)),
                ("gold", models.IntegerField()),
                ("refunded_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
    ]
